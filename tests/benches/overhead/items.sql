CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, weight REAL, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO item SELECT i, (i * 7919) % 1013, (i * 104729 % 10007) / 7.0, 'item ' || (i * 31337 % 200003) FROM n;
CREATE INDEX by_kind ON item(kind, weight);
CREATE INDEX by_name ON item(name);
CREATE TABLE kind(id INTEGER PRIMARY KEY, label TEXT);
INSERT INTO kind SELECT DISTINCT kind, 'kind ' || kind FROM item;
SELECT label, count(*), round(sum(weight), 3), max(name) FROM item JOIN kind ON kind.id = item.kind GROUP BY label ORDER BY 3 DESC LIMIT 20;
SELECT count(*), round(avg(a.weight - b.weight), 6) FROM item a JOIN item b ON b.kind = a.kind AND b.weight > a.weight WHERE a.id % 8 = 0;
SELECT substr(name, 6, 2) AS part, count(DISTINCT kind), group_concat(DISTINCT id % 7) FROM item WHERE name LIKE '%7%' GROUP BY part ORDER BY part LIMIT 30;
UPDATE item SET weight = weight * 1.5 WHERE kind % 3 = 1;
DELETE FROM item WHERE name LIKE '%99%';
SELECT count(*), round(total(weight), 3), min(name), max(name) FROM item;
SELECT id, name FROM (SELECT id, name, row_number() OVER (PARTITION BY kind ORDER BY weight DESC) AS place FROM item) WHERE place = 1 ORDER BY id LIMIT 20;
