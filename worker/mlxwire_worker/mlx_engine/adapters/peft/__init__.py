"""Reads LoRA and DoRA adapters in the format of PEFT, Unsloth and others."""
