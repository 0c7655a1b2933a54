"""The pytest plugin: scenarios as items, fixtures, the session behind them."""
