"""The sentinel before old results meet new ones: may cells of another torch, GPU or code be pooled with today's?"""
