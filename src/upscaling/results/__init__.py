"""From files that came back to a product: checked COGs, STAC items, a collection, its mosaic."""
