module github.com/mlxwire/mlxwire/examples/go-daemon

go 1.24

require github.com/mlxwire/mlxwire/client/go v0.0.0

replace github.com/mlxwire/mlxwire/client/go => ../../client/go
