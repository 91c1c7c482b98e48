"""Commands of operators: keys, tenants, database, storage, upkeep, checks of the machine."""
