"""Publish-subscribe (XEP-0060), written once: for the accounts of a domain (XEP-0163) and for a service.

A *venue* is an address that has nodes.  `requests` tells what each request means, `service` does it,
`access` says who may, `options` what a node can be told, `events` what its subscribers hear.
"""
