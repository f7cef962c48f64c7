"""What can be found out before anything is booked: cluster, environments, keys, hosted models, hub, store and disk.

Every check says in one sentence what is so, and where something is wrong, what to do. None submits a job or downloads
anything; only those of ``trials`` ask a model, and only those of ``hub`` ask the hub. What could not be looked at is
said as skipped, with the reason.
"""
