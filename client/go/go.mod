module github.com/mlxwire/mlxwire/client/go

go 1.24
