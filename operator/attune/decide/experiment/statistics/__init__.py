"""The statistics of an A/B test, as pure functions of sums. One module a method; `decide.look` puts them together."""
