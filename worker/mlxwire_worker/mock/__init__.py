"""The mock engine, and the fault scripts that break its worker on purpose."""
