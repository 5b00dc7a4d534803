"""Texts that look sensitive and are not: versions, orders, dates, paths. A suggestion for any of them is wrong."""

from __future__ import annotations

LOOKALIKES = tuple(
    line
    for line in """\
Ask @ada about it.
The handle is @globex_support on every network.
npm install @scope/package@1.2.3
npm i left-pad@1.3.0
docker pull registry.example.com/app@sha256:9b2c
logo@2x.png is blurred
Use icon@3x.webp for retina screens
git clone git@github.com:globex/api.git
git@gitlab.example.com:team/repo.git was moved
https://ada:secret@files.example.com/list needs https
ssh://deploy@host.example.com/srv
user@localhost cannot log in
root@server is the prompt
a@b is too short
ada@ is not complete
@example.com is our domain
Meet @ noon, room 12.
5 apples @ 2.50 each
rate @ 3.5%
x@1.com.5
foo@bar.c
price@2.99
me at example dot com
ada(at)globex.example
E-mail me!
The email field is empty.
@media (max-width: 600px)
@property def name(self)
contact@
styles@1.css was renamed
bundle@4.min.js failed
report@final.pdf is attached
mod@v1.2.3.zip
An @-sign alone does nothing.
Order 555-867-5309 has shipped.
order no. 555-867-5309
Ticket #415-555-2671 is closed
Invoice 212-555-0134 is paid
Case number 123-456-7890 is open
Part number 800-555-0199 is out of stock
SKU: 555-123-4567
Tracking number 555 867 5309
serial 555.867.5309
ref 415-555-0101
5558675309
There are 5558675309 rows.
8005550199 is only a number
The year 2024-2025 was good.
2026-03-14 and 2026-03-15
On 14.03.2026 at 09:26
14-03-2026 09:26:53
From 10:30 to 11:45 on 12/05
2026-11-21T08:40:11+05:30
2026-11-21T08:40:11+0000
UTC+2 is our zone
GMT+05:30
+5 points
+12 % since May
+100 000 000 users
+1 000 000 EUR
+10.000.000 €
+20000000 rows per day
+500000000 ms later
temperature +37.5
1+1=2
x = 12 +12345678
C++11 and C++20
the +1 button
+49 only
+49 30
+0 123 456 789
pages 123-456
pages 100-200-300
lines 12-34-5678
SSN format is 3-2-4: 078-05-1120
ISBN 978-3-16-148410-0
ISBN 0-306-40615-2
ISSN 2049-3630
EAN 4006381333931
GTIN 04012345123456
UPC 036000291452
DOI 10.1000/182
arXiv:2301.12345
ORCID 0000-0002-1825-0097
550e8400-e29b-41d4-a716-446655440000
id 123e4567-e89b-12d3-a456-426614174000
commit 9fceb02d0ae598e95dc970b74767f19372d61af8
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
md5 d41d8cd98f00b204e9800998ecf8427e
build 20261121.4
v1.2.3.4
version 1.2.3.4 is out
Version: 10.0.19041.1
release 4.18.0.1
Chrome/120.0.6099.71
firmware 3.2.1.0
section 4.3.2.1 of the manual
clause 1.2.3.4
chapter 2.1.3.4
rev 7.4.1.2
OID 1.3.6.1.4.1
1.3.6.1.4.1.311.21.20
driver 31.0.15.3623
.NET 4.0.30319.42000
kernel 5.15.0.91
Update to v2.0.0.1 now
build 1.0.0.127
127.0.0.1
listening on 127.0.0.1:8100
bind 0.0.0.0
0.0.0.0:8080 means everywhere
mask 255.255.255.0
255.255.255.255 is broadcast
256.1.1.1 is out of range
1.2.3.400 is not an address
999.999.999.999
1.2.3 is a version
1.2.3.4.5 has five parts
01.02.03.04 was a Sunday
192.168.1 is incomplete
::1 is loopback
localhost ([::1])
std::vector<int> numbers
Foo::Bar::baz()
use std::io::Read;
dead::beef is a pun
ace::bad
a::b::c
face::cafe
10:30:45
00:1b:44:11:3a:b7
MAC 00-1B-44-11-3A-B7
aspect 16:9
ratio 1:2:3
12:34:56:78
10:20:30:40:50:60:70
at 08:40:11:123
key:value:other
urn:isbn:0451450523
http://[
Genesis 1:1-2:3
#c0ffee:#bada55
4111 1111 1111 1112
4111111111111112
4242 4242 4242 4241
1234 5678 9012 3456
1234567812345670
0000 0000 0000 0000
9999999999999995
1111222233334444
7992739871300000
Order 4111111111111111
order id: 4242424242424242
invoice 4012888888881881
tracking number 5555555555554444
IMEI 490154203237518
imei: 356938035643809
ICCID 89014103211118510720
account 12345678
1700000000000
1700000000000000
timestamp 1700000000123456
20261121084011000
3141592653589793
2718281828459045
1.4142135623730951
0.4111111111111111
$4111111111111111
411111111111111
41111111111111111111
4111 1111 1111
4111-1111 1111-1111 is mixed
5555 44
3782-822463
12345678901234567890
6011
DE89
DE89 3704 0044 0532 0130 01
DE00 3704 0044 0532 0130 00
GB82 WEST 1234 5698 7654 33
GB82WEST1234569876543
FR14 2004 1010 0505 0001 3M02 607
NL91 ABNA 0417 1643 01
XX89 3704 0044 0532 0130 00
ZZ82 WEST 1234 5698 7654 32
US12 3456 7890 1234 5678
AB12 CDEF 3456 7890
BE68 5390 0754 7035
IT60 is a road in Italy
AT61 and AT62 are trains
NO93 8601 1117 948
AL35 is a ticket
DE12345 is a form
IE11 is old
CH93 0076 2011 6238 5295 8
is24 of the best of them all we saw
no10 can tell them what to do now
be16 good
the id IT28 was lost
AKIA is a prefix
AKIASHORT
akiaiosfodnn7example
AKIAXXXXXXXXXXXXXXXX
XAKIAIOSFODNN7EXAMPLE
ASIAIOSFODNN7EXAMPLE
AKIAIOSFODNN7EXAMPLES2
wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
ghp_short
ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
ghx_16C7e42F292c6912E7710c838347Ae178B4a
sk-short
sk-xxxxxxxxxxxxxxxxxxxxxxxx
sk-learn-based-classification-pipeline
sk-0000000000000000000000
task-force-on-classification-and-labels
risk-assessmentforthewholecompany
ask-questionsabouteverythingyouwant
sk-SK is Slovak
desk-reservationsystemforlargecompanies
AIza is how they begin
AIzaSyTooShort
xoxb-short
xoxb-your-token-goes-here
xoxo-1234567890
xoxz-123456789012
eyJ is base64 for {"
eyJhbGciOiJIUzI1NiJ9
eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0
com.example.application.controller.HomeController
application.configuration.properties-file.defaults
org.springframework.boot.autoconfigure.SpringBootApplication
Password: hunter2
the password is correct-horse-battery-staple
token: none
bearer of good news
-----BEGIN PUBLIC KEY-----
-----BEGIN CERTIFICATE-----
It starts with -----BEGIN PRIVATE KEY----- and so on.
-----BEGIN RSA PRIVATE KEY----- is the header
BEGIN PRIVATE KEY
-----BEGIN SSH SIGNATURE-----
-----BEGIN PGP PUBLIC KEY BLOCK-----
PuTTY-User-Key-File-3: is its first line
the private key is in the safe
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dSOcRJHRb
key-value pairs
I have 3 cats and 2 dogs.
Room 415, floor 5, building 2671
Flight LH 1234 at 20:45
Row 12, seat 34F
Highway 101 to exit 429
zip 94105-1420
Postcode SW1A 1AA
ID card 123456789
Passport C01X00T47
VAT DE123456789
Tax id 12-3456789
Plate B-AD 1234
Coordinates 48.8566, 2.3522
40.7128,-74.0060
48.858.844.2294
Wi-Fi 802.11ac
RFC 5321 and RFC 1918
ISO 27001:2022
IEEE 754-2008
HTTP/1.1 200 OK
port 5432
error E-4012
code 0x80070005
#123456
$1,234,567.89
1.234.567,89 EUR
€ 4.111.111.111
10 000 000 000
1e10
2^64 = 18446744073709551616
pi = 3.14159265358979323846
3 x 4 = 12
1/2 + 1/3
Ctrl-Alt-Del
A4 297 x 210 mm
5 - 3 - 4 - 2
score 3-2 (1-1)
set 6-4 6-3 7-6
phone is broken
call me maybe
the card was declined
my IBAN is wrong
Which address should I use?
The IP changed again.
Reset the token, please.
""".splitlines()
    if line
)
