"""The gateways that ours is measured beside, each of one exact version."""
