"""The published systems that this framework is compared with: each algorithm of theirs as a function of its own."""
