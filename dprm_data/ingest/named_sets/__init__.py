"""Public sets of people's votes, each under a name: `catalogue.load_named("dices-350", folder)`."""
