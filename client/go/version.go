package mlxwire

// Version is this client's; the worker logs it.
const Version = "0.1.0"
