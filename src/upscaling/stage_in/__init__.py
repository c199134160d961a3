"""Products of STAC catalogues as input: searched and pinned with the plan, brought here when a tile needs them."""
