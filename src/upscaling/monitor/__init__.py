"""How far a run is, what it cost, why tiles failed; cancel and clean its jobs; the report."""
