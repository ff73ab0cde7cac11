"""The sentinel before old results meet new ones: may cells of another environment or code be pooled with today's?"""
