"""How far a panel is from a crowd: people's votes on the same items as the yardstick."""
