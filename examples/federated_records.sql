-- A little of an old billing system, for the example federated_records.
CREATE TABLE ledger (
    entry_no bigint PRIMARY KEY,
    account integer NOT NULL,
    posted_on date NOT NULL,
    kind text NOT NULL,
    amount numeric(12, 2) NOT NULL,
    remark text
);
CREATE INDEX ON ledger (account);
INSERT INTO ledger VALUES
    (1, 100234, '2009-03-02', 'charge', 120.00, 'Office visit, level 3'),
    (2, 100234, '2009-03-30', 'payment', -120.00, ''),
    (3, 100234, '2014-11-11', 'charge', 85.50, 'Called back: "will pay"'),
    (4, 100235, '2010-01-04', 'charge', 40.00, NULL);
