"""Speed beside real peers: environments, training, oracle, memory, growth (`make bench`)."""
