"""Model folders: checked before anything in them is believed."""
