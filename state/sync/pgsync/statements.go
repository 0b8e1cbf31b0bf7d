package pgsync

// The statements of each step. @ is the schema. See exec for how they are sent.
const (
	// A lease whose end is further ahead than its TTL was written before the server's clock stepped back. It gets its TTL from now.
	sweepLeases = `
		UPDATE @.leases SET expires = clock_timestamp() + ttl * interval '1 microsecond' WHERE id IN
			(SELECT id FROM @.leases WHERE expires > clock_timestamp() + ttl * interval '1 microsecond' FOR UPDATE SKIP LOCKED);
		DELETE FROM @.leases WHERE id IN
			(SELECT id FROM @.leases WHERE expires < clock_timestamp() - interval '1 minute' FOR UPDATE SKIP LOCKED);`

	// $1 lease, $2 TTL in microseconds
	grantLease = sweepLeases + `
		INSERT INTO @.leases VALUES ($1, $2, clock_timestamp() + $2 * interval '1 microsecond')`

	// $1 lease, $2 names and $3 tokens of claims. It returns the indexes of the missing claims. If another transaction deletes the lease
	// concurrently, the second of the two sees the outcome of the first.
	renewLease = `UPDATE @.leases SET expires = clock_timestamp() + ttl * interval '1 microsecond'
		WHERE id = $1 AND expires > clock_timestamp()
		RETURNING array_to_string(ARRAY(SELECT place FROM unnest($2, $3) WITH ORDINALITY AS named (name, token, place)
			WHERE NOT EXISTS (SELECT FROM @.claims c WHERE c.name = named.name AND c.token = named.token)), ' ')`

	// $1 lease, $2 channel
	revokeLease = `WITH gone AS (SELECT name, token FROM @.claims WHERE lease = $1),
		revoked AS (DELETE FROM @.leases WHERE id = $1)
		SELECT pg_notify($2, token || ' ' || name) FROM gone`

	// purge removes the leases of claims on name $1 that have ended, and shortens those that a step of the clock has lengthened. It skips
	// leases that another transaction renews or removes, because waiting for them could deadlock.
	purge = `
		WITH odd AS (SELECT l.id, l.expires <= clock_timestamp() AS dead FROM @.leases l JOIN @.claims c ON c.lease = l.id
				WHERE c.name = $1 AND (l.expires <= clock_timestamp() OR l.expires > clock_timestamp() + l.ttl * interval '1 microsecond')
				FOR UPDATE OF l SKIP LOCKED),
			shortened AS (UPDATE @.leases l SET expires = clock_timestamp() + l.ttl * interval '1 microsecond'
				FROM odd WHERE l.id = odd.id AND NOT odd.dead)
		DELETE FROM @.leases l USING odd WHERE l.id = odd.id AND odd.dead;`

	// $1 name, $2 claim, $3 lease, $4 value, $5 the exclusive limit of earlier claims, $6 channel. The first statement locks the name's row
	// until the end of the transaction, which orders claims and tokens. The result is the token or 0, the number of earlier claims, whether
	// the lease exists, and whether the claim was withdrawn. Observers are notified of a first claim.
	acquireClaim = `
		INSERT INTO @.names VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET epoch = names.epoch + 1;` + purge + `
		WITH l AS (SELECT id FROM @.leases WHERE id = $3 AND expires > clock_timestamp() FOR KEY SHARE),
			others AS (SELECT count(*) AS n FROM @.claims WHERE name = $1),
			late AS (SELECT EXISTS (SELECT FROM @.withdrawn WHERE name = $1 AND id = $2) AS is),
			mine AS (INSERT INTO @.claims SELECT names.name, epoch, $2, l.id, $4 FROM @.names, l, others, late
				WHERE names.name = $1 AND n < $5 AND NOT late.is RETURNING token)
		SELECT coalesce(token, 0), n, EXISTS (SELECT FROM l), late.is, CASE WHEN n = 0 AND token IS NOT NULL THEN pg_notify($6, '0 ' || $1) END
			FROM others, late LEFT JOIN mine ON true`

	// $1 name, $2 token, $3 claim, $4 whether only the claim right before it matters
	lookClaim = purge + `
		SELECT EXISTS (SELECT FROM @.claims c JOIN @.leases l ON l.id = c.lease
				WHERE c.name = $1 AND c.token = $2 AND c.id = $3 AND l.expires > clock_timestamp()),
			(SELECT count(*) FROM @.claims WHERE name = $1 AND token < $2),
			coalesce(max(c.token), 0),
			coalesce((extract(epoch FROM CASE WHEN $4 THEN max(l.expires) ELSE min(l.expires) END - clock_timestamp()) * 1000000)::bigint, 0)
		FROM @.claims c JOIN @.leases l ON l.id = c.lease
		WHERE c.name = $1 AND c.token < $2
		AND (NOT $4 OR c.token = (SELECT max(token) FROM @.claims WHERE name = $1 AND token < $2))`

	// $1 name, $2 claim, $3 channel
	releaseClaim = `WITH gone AS (DELETE FROM @.claims WHERE name = $1 AND id = $2 RETURNING token)
		SELECT pg_notify($3, token || ' ' || $1) FROM gone`

	// $1 name, $2 claim, $3 channel, $4 lease. The lock on the name's row orders the withdrawal with an acquisition of the same claim that
	// is still running: the second of the two sees the outcome of the first.
	withdrawClaim = `
		INSERT INTO @.names VALUES ($1, 0) ON CONFLICT (name) DO UPDATE SET epoch = names.epoch;
		INSERT INTO @.withdrawn SELECT $1, $2, l.id FROM @.leases l WHERE l.id = $4 FOR KEY SHARE OF l ON CONFLICT DO NOTHING;` +
		releaseClaim

	// $1 name
	firstHolder = `SELECT c.token, encode(c.value, 'hex'), (extract(epoch FROM l.expires - clock_timestamp()) * 1000000)::bigint
		FROM @.claims c JOIN @.leases l ON l.id = c.lease
		WHERE c.name = $1 AND l.expires > clock_timestamp() ORDER BY c.token LIMIT 1`
)
