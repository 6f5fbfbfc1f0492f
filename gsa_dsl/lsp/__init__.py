"""What an editor asks about a spec, as pure functions of its text; ``server`` speaks the protocol around them."""
