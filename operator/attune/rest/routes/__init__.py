"""The endpoints, a module for each kind of object. All are made by `attune.rest.routing`."""
