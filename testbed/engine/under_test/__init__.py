"""How each kind of server is started, watched and ended at a point: one file a kind."""
