//! The examples of appendix C, block by block through one decoder each.

use http2::hpack::Decoder;

use crate::{hex, lines};

pub const REQUESTS: [&str; 3] = [
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
];

pub const REQUESTS_HUFFMAN: [&str; 3] = [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
];

pub const RESPONSES: [&str; 3] = [
    "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
     546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "4803 3330 37c1 c0bf",
    "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
     6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
     2076 6572 7369 6f6e 3d31",
];

pub const RESPONSES_HUFFMAN: [&str; 3] = [
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
     8f0b 97c8 e9ae 82ae 43d3",
    "4883 640e ffc1 c0bf",
    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
     dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
];

const REQUESTS_SAY: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
];

const RESPONSES_SAY: [&str; 3] = [
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n\
     content-encoding: gzip\n\
     set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
];

/// Updates the size of the table to 256 bytes, which the responses are written for.
pub const SIZE_256: &str = "3fe101";

#[test]
fn single_fields_are_read() {
    let decoder = &mut Decoder::new(4096);
    let read = |block| lines(decoder, &hex(block)).unwrap();
    let blocks = [
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        "040c 2f73 616d 706c 652f 7061 7468",
        "1008 7061 7373 776f 7264 0673 6563 7265 74",
        "82",
        "be",
    ];
    let say = [
        "custom-key: custom-header\n",
        ":path: /sample/path\n",
        "password: secret\n",
        ":method: GET\n",
        "custom-key: custom-header\n",
    ];
    assert_eq!(blocks.map(read), say);
}

#[test]
fn requests_are_read_with_and_without_huffman_code() {
    for blocks in [REQUESTS, REQUESTS_HUFFMAN] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(blocks.map(|block| lines(&mut decoder, &hex(block)).unwrap()), REQUESTS_SAY);
        // The table holds custom-key, cache-control and :authority, and no more.
        let table = "custom-key: custom-value\ncache-control: no-cache\n:authority: www.example.com\n";
        assert_eq!(lines(&mut decoder, &hex("be bf c0")).unwrap(), table);
        assert!(lines(&mut decoder, &hex("c1")).is_err());
    }
}

#[test]
fn responses_are_read_with_and_without_huffman_code_as_entries_leave_the_table() {
    for blocks in [RESPONSES, RESPONSES_HUFFMAN] {
        let mut decoder = Decoder::new(4096);
        lines(&mut decoder, &hex(SIZE_256)).unwrap();
        assert_eq!(blocks.map(|block| lines(&mut decoder, &hex(block)).unwrap()), RESPONSES_SAY);
        let table = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\ncontent-encoding: gzip\n\
                     date: Mon, 21 Oct 2013 20:13:22 GMT\n";
        assert_eq!(lines(&mut decoder, &hex("be bf c0")).unwrap(), table);
        assert!(lines(&mut decoder, &hex("c1")).is_err());
    }
}
