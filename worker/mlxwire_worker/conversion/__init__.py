"""The program behind `mlxwire convert`: a model's weights in another form, in a new folder."""
