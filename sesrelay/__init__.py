"""sesrelay: a self-hosted mail relay that speaks as Amazon SES does.

The journey of a message:

1.  ``fronts.smtp`` reads a client's bytes and makes a ``Submission`` of them.
2.  ``core.accept`` gathers the account's facts and judges by ``rules.acceptance``.
3.  ``store`` writes body, message, recipients and limits in one transaction.
4.  Only then does the client hear ``250 Ok <message id>``.
5.  The new recipients are handed to ``delivery`` in memory: the first attempt starts at once.
6.  ``delivery`` speaks to the next hop and brings back one ``AttemptResult`` for each recipient.
7.  ``core.settle`` turns it into a ``Verdict`` by ``rules.outcomes`` and applies it in one transaction.
8.  What must be told (a bounce) is an outbox row of that same transaction.
9.  ``core.publish`` and ``events`` make mail of outbox rows: through ``core.accept`` again.
10. What is left waiting lies in lanes, until its time comes or it is too old.
"""

__version__ = "0.1.0"
