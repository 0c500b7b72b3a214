"""Public sets of people's votes, each under a name: `collection.load_named("dices-350", folder)`."""
