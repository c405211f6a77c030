-- One text for both databases: INT, BYTES, SORTED and STRICT are filled in by schema.rs.
-- Ids and digests are lower-case hex, times are milliseconds since 1970 (UTC).

CREATE TABLE people (
    id TEXT NOT NULL PRIMARY KEY,
    login {SORTED} NOT NULL UNIQUE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL, -- in lower case, by which it is found: LOWER knows other alphabets in each database
    group_names TEXT NOT NULL, -- JSON array; provisioned groups are not in it
    provisioned {INT} NOT NULL, -- 1: a provisioning system governs them
    directory_active {INT} NOT NULL, -- what that system says; 1 where none governs them
    blocked {INT} NOT NULL, -- 1: put out of service by hand, which only a hand undoes
    -- Nobody writes it: whoever may sign in is so by both.
    active {INT} NOT NULL GENERATED ALWAYS AS (CASE WHEN directory_active = 1 AND blocked = 0 THEN 1 ELSE 0 END) STORED,
    external_id TEXT, -- what that system calls them
    link TEXT, -- the id of the factor that links them to an identity provider, where provisioning keeps it
    given_name TEXT NOT NULL,
    family_name TEXT NOT NULL,
    tokens_after {INT}, -- access tokens that were issued before are worth nothing
    version {INT} NOT NULL, -- compare-and-swap
    added_at {INT} NOT NULL,
    changed_at {INT} NOT NULL
) {STRICT};
CREATE INDEX people_by_external_id ON people (external_id);
CREATE INDEX people_by_email ON people (email_folded);
-- What is counted and left out on the way to a page of accounts is read from here alone.
CREATE INDEX people_provisioned ON people (login, provisioned) WHERE provisioned = 1;

CREATE TABLE provisioned_groups (
    id TEXT NOT NULL PRIMARY KEY,
    name {SORTED} NOT NULL UNIQUE,
    folded TEXT NOT NULL UNIQUE, -- the name in lower case: two that differ in case alone are one mistake
    external_id TEXT,
    version {INT} NOT NULL, -- compare-and-swap
    added_at {INT} NOT NULL,
    changed_at {INT} NOT NULL
) {STRICT};
CREATE INDEX provisioned_groups_by_external_id ON provisioned_groups (external_id);

CREATE TABLE memberships (
    group_id TEXT NOT NULL REFERENCES provisioned_groups (id) ON DELETE CASCADE,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, person)
) {STRICT};
CREATE INDEX memberships_of_person ON memberships (person);

-- Other systems that speak to the gate.
CREATE TABLE machines (
    name {SORTED} NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL, -- JSON array
    transmitter TEXT NOT NULL, -- whose security events it may push; empty: none
    added_at {INT} NOT NULL,
    expires_at {INT}
) {STRICT};

-- Hardware tokens that show one-time codes. A serial number is there for good: what was revoked cannot be imported
-- again, so that no counter goes back.
CREATE TABLE hardware_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    serial {SORTED} NOT NULL UNIQUE,
    manufacturer TEXT NOT NULL,
    kind TEXT NOT NULL, -- hotp or totp
    imported_at {INT} NOT NULL,
    ends_at {INT}, -- as its maker says
    revoked_at {INT},
    person TEXT REFERENCES people (id) ON DELETE SET NULL, -- to whom it was handed out
    last {INT}, -- the last counter or step that was accepted: compare-and-swap
    sealed {BYTES} -- what makes its codes; NULL once it is revoked
) {STRICT};
CREATE INDEX hardware_tokens_of_person ON hardware_tokens (person) WHERE person IS NOT NULL;

CREATE TABLE factors (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    kind TEXT NOT NULL, -- of a passkey with its sort, as it was when it was last used
    name TEXT NOT NULL,
    enrolled_at {INT} NOT NULL,
    ordinal {INT} NOT NULL, -- counts a person's enrolments: oldest first, even within a millisecond
    last_used_at {INT},
    last_used_from TEXT,    -- network address
    last_step {INT},        -- totp, of an app: compare-and-swap
    counter {INT},          -- passkey, or that of a device: compare-and-swap
    backed_up {INT},        -- likewise: 0 or 1
    credential_id {BYTES} UNIQUE,
    provider TEXT,          -- idp: what the configuration calls it
    identity TEXT UNIQUE,   -- idp: digest of issuer and subject
    device TEXT UNIQUE,     -- push: digest of the device's cookie
    token TEXT UNIQUE REFERENCES hardware_tokens (id), -- hotp, totp: the hardware token that it is
    sealed {BYTES} NOT NULL
) {STRICT};
CREATE INDEX factors_of_person ON factors (person);

-- How devices are woken; sealed, because whoever knows an address can wake its device.
CREATE TABLE push_subscriptions (
    factor TEXT NOT NULL PRIMARY KEY REFERENCES factors (id) ON DELETE CASCADE,
    sealed {BYTES}, -- endpoint and keys; NULL: it is not woken (any more)
    changed_from {INT} NOT NULL, -- when the hour began in which changes are counted
    changes {INT} NOT NULL
) {STRICT};

CREATE TABLE recovery_codes (
    factor TEXT NOT NULL REFERENCES factors (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    ordinal {INT} NOT NULL,
    PRIMARY KEY (factor, digest)
) {STRICT};

-- Codes that were sent, for an hour: they are counted even when their factor is gone. Only the newest of a
-- factor is sealed.
CREATE TABLE sent_codes (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    factor TEXT, -- none while it is being enrolled
    sealed {BYTES}, -- what it was sent for, and its digest
    used {INT} NOT NULL,
    delivery TEXT NOT NULL,
    sent_to TEXT NOT NULL, -- keyed digest of the address
    sent_at {INT} NOT NULL,
    expires_at {INT} NOT NULL
) {STRICT};
CREATE INDEX sent_codes_by_address ON sent_codes (sent_to, sent_at);
CREATE INDEX sent_codes_of_person ON sent_codes (person, kind);
CREATE INDEX sent_codes_of_factor ON sent_codes (factor);

-- Wrong tries in a row, wherever they come from. Whoever counts takes this row first.
CREATE TABLE tries (
    person TEXT NOT NULL,
    kind TEXT NOT NULL,
    wrong {INT} NOT NULL,
    of_strangers {INT} NOT NULL,
    locked {INT} NOT NULL, -- 1: its person said that it was not they who asked; no answer opens it
    PRIMARY KEY (person, kind)
) {STRICT};

-- The same apart by where they come from. The row of a device is there once a right
-- answer came with it: that is what makes it known.
CREATE TABLE try_lanes (
    id TEXT NOT NULL PRIMARY KEY, -- person, kind, whom, and which device or address
    person TEXT NOT NULL,
    kind TEXT NOT NULL,
    whom TEXT NOT NULL, -- device, address or strangers
    wrong {INT} NOT NULL,
    locked_before {INT} NOT NULL,
    last_at {INT} NOT NULL,
    locked_until {INT}
) {STRICT};
CREATE INDEX try_lanes_of_person ON try_lanes (person, kind);
CREATE INDEX try_lanes_by_use ON try_lanes (whom, last_at);

CREATE TABLE devices (
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    device TEXT NOT NULL, -- digest of its cookie
    first_seen_at {INT} NOT NULL,
    -- When a session on it was first let to a service; NULL: never, so that nobody knows it. A password alone, and a
    -- sign-in that is asked for more, make no device familiar.
    admitted_at {INT},
    last_used_at {INT} NOT NULL, -- the last time that one was; until then, the first sign-in
    name TEXT NOT NULL, -- given by the person; empty: none
    agent TEXT NOT NULL, -- what the browser called itself then
    PRIMARY KEY (person, device)
) {STRICT};

-- What is usual for somebody: one profile, sealed, because it tells when and from where they work.
CREATE TABLE profiles (
    person TEXT NOT NULL PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    version {INT} NOT NULL, -- compare-and-swap
    changed_at {INT} NOT NULL,
    sealed {BYTES} NOT NULL
) {STRICT};
CREATE INDEX profiles_by_change ON profiles (changed_at);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    started_at {INT} NOT NULL,
    last_used_at {INT} NOT NULL,
    ends_at {INT} NOT NULL,
    idle_ms {INT} NOT NULL,
    ended_at {INT},
    end_reason TEXT, -- revoked or replaced
    generation {INT} NOT NULL,
    tokens_issued {INT} NOT NULL,
    device TEXT NOT NULL,
    device_used_before {INT}, -- when the device was last used before this sign-in; NULL: never
    address TEXT NOT NULL,
    country TEXT NOT NULL, -- of that address, as it was known then
    agent TEXT NOT NULL,
    token_reused_at {INT} -- when a retired token of it was seen again
) {STRICT};
CREATE INDEX sessions_of_person ON sessions (person);
CREATE INDEX sessions_by_end ON sessions (ends_at);

CREATE TABLE proofs (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    ordinal {INT} NOT NULL,
    kind TEXT NOT NULL,
    at {INT} NOT NULL,
    generation {INT} NOT NULL,
    PRIMARY KEY (session, ordinal)
) {STRICT};

CREATE TABLE tokens (
    digest TEXT NOT NULL PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    audience TEXT NOT NULL,
    generation {INT} NOT NULL,
    ordinal {INT} NOT NULL, -- order of issue within the session
    browser TEXT,
    dies_at {INT},
    retired_at {INT} -- when its successor was first used: whoever shows it long after has a copy
) {STRICT};
CREATE INDEX tokens_of_session ON tokens (session, audience);
CREATE INDEX tokens_by_death ON tokens (dies_at);

CREATE TABLE codes (
    digest TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    audience TEXT NOT NULL,
    browser TEXT,
    challenge TEXT,
    generation {INT} NOT NULL,
    expires_at {INT} NOT NULL
) {STRICT};
CREATE INDEX codes_by_expiry ON codes (expires_at);
CREATE INDEX codes_of_session ON codes (session);

-- Sign-in prompts that were answered: each starts one session.
CREATE TABLE prompts (
    digest TEXT NOT NULL PRIMARY KEY,
    used_at {INT} NOT NULL
) {STRICT};

-- Browsers that were sent to an identity provider and have not come back.
CREATE TABLE pending_logins (
    state TEXT NOT NULL PRIMARY KEY, -- digest of OAuth's state
    browser TEXT NOT NULL,
    provider TEXT NOT NULL,
    expires_at {INT} NOT NULL,
    stranger {INT} NOT NULL, -- 1: nobody knows who left
    left_by TEXT NOT NULL,   -- a network or a session
    sealed {BYTES} NOT NULL
) {STRICT};
CREATE INDEX pending_logins_by_expiry ON pending_logins (expires_at);
CREATE INDEX pending_logins_of_strangers ON pending_logins (stranger, expires_at);
CREATE INDEX pending_logins_of_one ON pending_logins (left_by, expires_at);

-- The logins at identity providers that sessions rest on.
CREATE TABLE provider_logins (
    session TEXT NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    identity TEXT NOT NULL,
    left_at {INT} NOT NULL, -- when the browser left for the provider
    sid TEXT,
    renew_at {INT}, -- NULL: never
    sealed {BYTES} NOT NULL
) {STRICT};
CREATE INDEX provider_logins_of_identity ON provider_logins (identity, provider);
CREATE INDEX provider_logins_of_sid ON provider_logins (sid, provider);
CREATE INDEX provider_logins_by_renewal ON provider_logins (renew_at);

-- Logins at providers that proved more in a session, however it began: a logout there ends it too.
CREATE TABLE provider_proofs (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    identity TEXT NOT NULL,
    sid TEXT NOT NULL, -- empty: the provider named none
    proved_at {INT} NOT NULL,
    PRIMARY KEY (session, provider, identity, sid)
) {STRICT};
CREATE INDEX provider_proofs_of_identity ON provider_proofs (identity, provider);
CREATE INDEX provider_proofs_of_sid ON provider_proofs (sid, provider);

-- Logouts at providers, for as long as a login may be on its way that they ended too. Logins have a
-- row here as well: of a logout and a login at once, one waits for the other.
CREATE TABLE provider_logouts (
    id TEXT NOT NULL PRIMARY KEY, -- digest of what was logged out: a provider's session, or a person there
    logged_out_at {INT} NOT NULL, -- 0: never
    noted_at {INT} NOT NULL
) {STRICT};
CREATE INDEX provider_logouts_by_time ON provider_logouts (noted_at);

-- Security events of other systems that were taken: each once.
CREATE TABLE received_sets (
    digest TEXT NOT NULL PRIMARY KEY, -- of issuer and jti
    received_at {INT} NOT NULL
) {STRICT};
CREATE INDEX received_sets_by_time ON received_sets (received_at);

-- Streams of security events to other systems, and what waits in them.
CREATE TABLE streams (
    id TEXT NOT NULL PRIMARY KEY,
    machine {SORTED} NOT NULL UNIQUE REFERENCES machines (name) ON DELETE CASCADE,
    audience TEXT NOT NULL,
    endpoint TEXT, -- where events are posted; NULL: they are fetched
    requested TEXT NOT NULL, -- JSON array
    description TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    next_entry {INT} NOT NULL, -- of the ledger: what is before it was looked at
    ordinal {INT} NOT NULL, -- counts the events that were put
    waits {INT} NOT NULL, -- how many events wait
    verified_at {INT} NOT NULL, -- when a verification was last asked for
    turn TEXT NOT NULL, -- one node posts at a time: whose turn it is
    turn_until {INT} NOT NULL,
    version {INT} NOT NULL, -- compare-and-swap
    sealed {BYTES} -- the value of Authorization for posting
) {STRICT};

CREATE TABLE waiting_sets (
    stream TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    ordinal {INT} NOT NULL,
    id TEXT NOT NULL,
    claims TEXT NOT NULL, -- JSON, not signed yet
    PRIMARY KEY (stream, ordinal)
) {STRICT};
CREATE UNIQUE INDEX waiting_sets_by_id ON waiting_sets (stream, id);

-- Systems that are told the evidence, and how far each has been told.
CREATE TABLE sinks (
    name {SORTED} NOT NULL PRIMARY KEY,
    next_entry {INT} NOT NULL, -- of the ledger: it has what is before, or refused it
    begun_at {INT} NOT NULL, -- the end of the ledger when it was first told
    told_at {INT}, -- when it last took something
    waits_since {INT}, -- since when it takes nothing although something waits
    why TEXT NOT NULL,
    late {INT} NOT NULL, -- whether there is an entry that says that it is behind
    refused {INT} NOT NULL, -- how many entries it refused for good
    turn TEXT NOT NULL, -- one node tells at a time: whose turn it is
    turn_until {INT} NOT NULL
) {STRICT};

CREATE TABLE left_out (
    stream TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    PRIMARY KEY (stream, person)
) {STRICT};

-- How others know who was deleted, until every stream has looked at all that was recorded of them.
CREATE TABLE departed (
    person TEXT NOT NULL PRIMARY KEY,
    issuer TEXT, -- NULL: nobody knew them by an identity
    subject TEXT,
    left_out TEXT NOT NULL, -- JSON array: the streams that are not told of them
    at {INT} NOT NULL
) {STRICT};

-- What other systems told of risks.
CREATE TABLE risks (
    id TEXT NOT NULL PRIMARY KEY, -- digest of person, session, transmitter, name and subject
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    session TEXT REFERENCES sessions (id) ON DELETE CASCADE, -- where it counts; NULL: for the person as a whole
    subject TEXT NOT NULL, -- what it was told of: only who speaks of the same replaces it; empty: the person as a whole
    transmitter TEXT NOT NULL,
    name TEXT NOT NULL, -- level, or a signal's name
    value TEXT NOT NULL, -- of a level
    happened_at {INT} NOT NULL, -- what happened earlier does not replace it
    until {INT} NOT NULL
) {STRICT};
CREATE INDEX risks_of_person ON risks (person, transmitter, name, subject);
CREATE INDEX risks_of_session ON risks (session) WHERE session IS NOT NULL;
CREATE INDEX risks_by_end ON risks (until);

CREATE TABLE challenges (
    id TEXT NOT NULL PRIMARY KEY,
    version {INT} NOT NULL,
    session TEXT NOT NULL,     -- that asked; or token: and the id of an access token
    program TEXT,              -- provider/client of that token; NULL: a session asked
    generation {INT} NOT NULL, -- of the token that asked
    person TEXT NOT NULL,
    host TEXT,
    browser TEXT,
    operation TEXT NOT NULL,
    grant_kind TEXT NOT NULL,
    asked TEXT NOT NULL,     -- JSON
    statement TEXT NOT NULL, -- JSON
    ask TEXT NOT NULL,       -- JSON
    proved_within_s {INT},   -- how old a login may be that answers it
    number TEXT NOT NULL,
    held TEXT NOT NULL,
    asked_from TEXT NOT NULL, -- here or elsewhere
    succeeds TEXT,
    opened_at {INT} NOT NULL,
    expires_at {INT} NOT NULL,
    state TEXT NOT NULL,
    standing TEXT NOT NULL,  -- JSON: what is known in that state
    spend_before {INT},
    closed_at {INT},
    request TEXT,
    node TEXT,
    sending {INT} NOT NULL,  -- 1 from the spending until the outcome is known
    held_request {BYTES}     -- sealed
) {STRICT};
CREATE INDEX challenges_of_session ON challenges (session, operation);
CREATE INDEX challenges_of_person ON challenges (person);
CREATE INDEX challenges_pending ON challenges (state, expires_at);
CREATE INDEX challenges_sending ON challenges (sending, node);
CREATE INDEX challenges_by_close ON challenges (closed_at);

-- What was put to people's devices. One of a person is open at a time, while its challenge is pending.
CREATE TABLE pushes (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    challenge TEXT NOT NULL,
    session TEXT NOT NULL, -- that wanted it
    sent_at {INT} NOT NULL,
    until {INT} NOT NULL,
    withdrawn {INT} NOT NULL -- 0 or 1
) {STRICT};
CREATE INDEX pushes_of_person ON pushes (person, sent_at);
CREATE INDEX pushes_by_time ON pushes (sent_at);

CREATE TABLE links (
    id TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    kinds TEXT NOT NULL, -- JSON array
    expires_at {INT} NOT NULL,
    used_at {INT}
) {STRICT};

CREATE TABLE tickets (
    digest TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    session TEXT REFERENCES sessions (id) ON DELETE CASCADE, -- that it ends with; NULL: a link gave it
    authority TEXT NOT NULL,
    kinds TEXT NOT NULL, -- JSON array
    browser TEXT NOT NULL,
    begun_kind TEXT,
    begun {BYTES},       -- sealed
    device_link TEXT UNIQUE, -- digest of the link that a device follows; NULL once one has
    device TEXT UNIQUE,  -- digest of the cookie of the device that is being enrolled
    expires_at {INT} NOT NULL
) {STRICT};
CREATE INDEX tickets_of_session ON tickets (session);

CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    lease_until {INT} NOT NULL
) {STRICT};

-- The one row that every batch takes last. Whoever holds it gives out indexes of
-- the tree and numbers of changes, so both are in the order of commits, without gaps.
CREATE TABLE ledger_head (
    id {INT} NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    size {INT} NOT NULL,
    frontier {BYTES} NOT NULL,
    change_number {INT} NOT NULL,
    checkpoint_size {INT} NOT NULL,
    checkpoint TEXT NOT NULL, -- signed note over committed entries; empty until the first is signed
    checkpoint_key TEXT NOT NULL -- the verifier key of who signs this head: it changes with the head, on all nodes at once
) {STRICT};

CREATE TABLE entries (
    number {INT} NOT NULL PRIMARY KEY, -- index in the tree
    id TEXT NOT NULL,
    at {INT} NOT NULL,
    kind TEXT NOT NULL,
    person TEXT,
    challenge TEXT,
    request TEXT,
    service TEXT,
    action TEXT,
    leaf {BYTES} NOT NULL
) {STRICT};
CREATE INDEX entries_of_person ON entries (person, number);
CREATE INDEX entries_of_challenge ON entries (challenge, number);
CREATE INDEX entries_of_kind ON entries (kind, number);
CREATE INDEX entries_of_request ON entries (request, number) WHERE request IS NOT NULL;
CREATE INDEX entries_of_service ON entries (service, action, number) WHERE service IS NOT NULL;
CREATE INDEX entries_of_action ON entries (action, number) WHERE action IS NOT NULL;
CREATE INDEX entries_by_time ON entries (at);

-- Whom an entry names that is about several people.
CREATE TABLE entry_people (
    person TEXT NOT NULL,
    number {INT} NOT NULL REFERENCES entries (number),
    PRIMARY KEY (person, number)
) {STRICT};

-- What may be erased: the leaf holds only a salted commitment to it.
CREATE TABLE details (
    number {INT} NOT NULL PRIMARY KEY REFERENCES entries (number),
    salt {BYTES} NOT NULL,
    body TEXT NOT NULL -- JSON
) {STRICT};

CREATE TABLE tiles (
    level {INT} NOT NULL,
    number {INT} NOT NULL,
    hashes {BYTES} NOT NULL,
    PRIMARY KEY (level, number)
) {STRICT};

CREATE TABLE changes (
    number {INT} NOT NULL PRIMARY KEY,
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    instance TEXT NOT NULL -- which process wrote it
) {STRICT};

CREATE TABLE signing_keys (
    id TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    ordinal {INT} NOT NULL, -- the order in which they were made
    made_at {INT} NOT NULL,
    signs_from {INT} NOT NULL, -- an assertion key is published before it signs
    sealed {BYTES} NOT NULL
) {STRICT};

-- The keys that sign the log's heads, one after the other. Their private halves are in
-- signing_keys until they are destroyed; their public halves stay as long as the log.
CREATE TABLE checkpoint_keys (
    verifier TEXT NOT NULL PRIMARY KEY, -- C2SP signed-note, name+id+key
    secret TEXT NOT NULL, -- id in signing_keys
    made_at {INT} NOT NULL,
    from_size {INT}, -- it signs heads from so many entries on; NULL only inside the transaction that announces it
    handover TEXT NOT NULL, -- the head of from_size entries, signed by the key before and this one; empty for the first
    keeps_former {INT} NOT NULL -- 0: the private half of the key before was destroyed when this one began
) {STRICT};
