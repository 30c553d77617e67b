"""The commands about model folders: `models`, `convert`, `pull` and `adapter fuse`."""
