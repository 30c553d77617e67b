package mlxwire

var roles = map[string]func(){"burst": burst}
