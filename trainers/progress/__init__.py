"""How an alignment is seen while it goes on.

log        the figures and samples of every step, on disk
history    as many points of them as a picture needs
curves     the pictures
page       the live page
"""
