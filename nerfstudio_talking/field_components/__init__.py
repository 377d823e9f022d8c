"""Small nn.Modules without a nerfstudio config."""
