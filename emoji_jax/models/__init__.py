"""The networks: pure functions of parameters and inputs, layout B F H W C."""
