-- What a context reads travels in two messages, together with the beginning and the end of its transaction. Functions,
-- because statements sent that way have no parameters and no plan of their own: these keep one for each connection.

create function context_state(
    tenant text, subject text, fallback_model text, forced_model text,
    out since timestamptz, out uncompiled bigint, out compiled_seq bigint, out last_seq bigint, out speakers text[],
    out has_resolutions boolean, out passages integer, out snapshot text, out model text, out versions text
) language plpgsql stable as $$
begin
    select s.created_at, s.episode_count - s.compiled_count, s.compiled_seq, s.last_seq, s.speakers,
           s.resolution_version > 0, s.passage_count, pg_current_snapshot(),
           coalesce(forced_model, s.embedding_model, fallback_model)
      into since, uncompiled, compiled_seq, last_seq, speakers, has_resolutions, passages, snapshot, model
      from subjects s where s.tenant_id = tenant and s.subject_id = subject;
    if not found then
        return;
    end if;
    select string_agg(concat_ws(':', b.block, b.xmin, v.xmin), ' ' order by b.block) into versions
      from passage_blocks b
      left join passage_vectors v
        on v.tenant_id = b.tenant_id and v.subject_id = b.subject_id and v.block = b.block
       and v.model = context_state.model
     where b.tenant_id = tenant and b.subject_id = subject;
end
$$;
comment on function context_state is
    'Of a subject, all that a reader needs to know before its passages: counters, whose vectors it is read with, and of each block of passages its number and the transactions that wrote it and its vectors. All null for an unknown subject.';

create function context_episodes(tenant text, subject text, ids uuid[])
returns table (
    body text, id uuid, session_id text, source text, type text, payload text, metadata text, provenance text,
    occurred_at timestamptz, created_at timestamptz
) language plpgsql stable as $$
begin
    return query
    select e.body, e.id, e.session_id, e.source, e.type, e.payload::text, e.metadata::text, e.provenance::text,
           e.occurred_at, e.created_at
      from episodes e where e.tenant_id = tenant and e.subject_id = subject and e.id = any(ids);
end
$$;
comment on function context_episodes is 'Episodes of a subject as a context delivers them.';

create function context_memories(tenant text, subject text, ids uuid[])
returns table (
    id uuid, kind text, content text, summary text, confidence double precision, valid_from timestamptz,
    valid_to timestamptz, source_episode_ids uuid[], metadata text, status text, sensitivity_labels text[],
    created_at timestamptz, updated_at timestamptz
) language plpgsql stable as $$
begin
    return query
    select m.id, m.kind, m.content, m.summary, m.confidence, m.valid_from, m.valid_to, m.source_episode_ids,
           m.metadata::text, m.status, m.sensitivity_labels, m.created_at, m.updated_at
      from memories m where m.tenant_id = tenant and m.subject_id = subject and m.id = any(ids);
end
$$;
comment on function context_memories is 'Memories of a subject as a context delivers them.';
