"""Models of other people: the calls, their failures and costs, and the one adapter that makes them."""
