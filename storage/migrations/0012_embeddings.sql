-- Which model's vectors a subject is read with, and changing it while everything goes on.

alter table subjects add column embedding_model text;
comment on column subjects.embedding_model is
    'Model whose vectors readers use. All passages of the subject have them, save those that a fill run still brings. Null until vectors are first published.';

-- Row-level security is forced for the owner too.
set local role statewave_operator;
update subjects s
   set embedding_model = v.model
  from (select distinct on (tenant_id, subject_id) tenant_id, subject_id, model
          from passage_vectors order by tenant_id, subject_id, block desc) v
 where v.tenant_id = s.tenant_id and v.subject_id = s.subject_id;
reset role;

create table embedding_changes (
    id uuid primary key,
    source_model text not null,
    target_model text not null check (target_model <> source_model),
    state text not null check (state in ('filling', 'switched', 'rolled_back', 'closed')),
    shards integer not null,
    shards_done integer not null default 0,
    subjects_done bigint not null default 0,
    subjects_failed bigint not null default 0,
    passages_done bigint not null default 0,
    recall_before jsonb,
    recall_after jsonb,
    started_at timestamptz not null default now(),
    filled_at timestamptz,
    rolled_back_at timestamptz,
    closed_at timestamptz
);
comment on table embedding_changes is 'Changes of the embedding model, of the whole deployment. Until one is closed, new passages get vectors of both models.';
comment on column embedding_changes.state is 'filling: subjects are moved one by one. switched: all were. rolled_back: all read the source again. closed: the vectors of the other model are deleted.';
comment on column embedding_changes.filled_at is 'When the last subject was moved.';
create unique index embedding_changes_live on embedding_changes ((true)) where state <> 'closed';

do $$
begin
    alter table embedding_changes enable row level security;
    alter table embedding_changes force row level security;
    create policy operator on embedding_changes to statewave_operator using (true) with check (true);
    -- Which models new passages need vectors of is no secret of any tenant.
    create policy reader on embedding_changes for select to statewave_app using (true);
    grant select, insert, update, delete on embedding_changes to statewave_operator;
    grant select on embedding_changes to statewave_app;
end
$$;
