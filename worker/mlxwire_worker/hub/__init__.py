"""The program behind `mlxwire pull`: a model of a hub, in the hub's local cache."""
