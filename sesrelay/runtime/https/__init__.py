"""The HTTPS port of a worker: uvicorn answers, and what a client may hold meanwhile is bounded here.

uvicorn has a time for idle connections and a number of them, and nothing for one that says nothing, says it slowly
or does not listen. ``arrivals`` counts clients and leads them through TLS, ``reading`` bounds what is read,
``waiting`` judges who makes us wait for too long, ``conversation`` carries it out, ``port`` holds it together.
"""
