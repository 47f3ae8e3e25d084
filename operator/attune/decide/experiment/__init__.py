"""The rules of A/B tests, for the two that share them: the ABTest's own decision, and the Retriever, which moves the traffic.

challengers      which tests may run, and which is next
splitting        the Retriever's side: load the challenger, split, promote the winner, take the split away
schedule         when a test is looked at, and when it ends
look             one look: the numbers
verdict          who won, or why nobody has yet; recommendation: the words
brevity          how little of a look is stored
statistics       the formulas, each with its source
"""
