"""Canary rollouts: the judge of a release, its simulator, the controller, routers and metric providers."""
