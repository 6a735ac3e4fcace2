//! Whatever is written is read back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::built_in;
use crate::format::batch::{Attributes, BatchBuilder, BatchHeader, BatchSpec, BatchView, Records};
use crate::format::compression::{Codec, compress, decompress};
use crate::format::record::{HeaderRef, RecordFields, decode_record};

type Bytes = Option<Vec<u8>>;

#[derive(Clone, Debug)]
struct Owned {
    timestamp: i64,
    key: Bytes,
    value: Bytes,
    headers: Vec<(String, Bytes)>,
}

impl Owned {
    fn headers(&self) -> Vec<HeaderRef<'_>> {
        self.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect()
    }
}

prop_compose! {
    fn record()(
        timestamp in prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_100_000i64],
        key in option::of(vec(any::<u8>(), 0..20)),
        value in option::of(vec(any::<u8>(), 0..200)),
        headers in vec((".{0,8}", option::of(vec(any::<u8>(), 0..10))), 0..4),
    ) -> Owned {
        Owned { timestamp, key, value, headers }
    }
}

/// The short way of writing a record and the general one agree, where a length takes another byte, too.
#[test]
fn a_record_is_written_the_same_both_ways() {
    const EDGES: [usize; 12] = [0, 1, 11, 63, 64, 65, 127, 128, 8180, 8190, 8192, 20_000];
    let bytes = vec![7; 20_000];
    let some = |len: usize| Some(&bytes[..len]);
    let lens: Vec<Option<&[u8]>> = EDGES.map(some).into_iter().chain([None]).collect();
    let deltas = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, i32::MAX, i32::MIN];
    let several = [HeaderRef { key: "k", value: None }];
    for (key, value, headers) in
        lens.iter().flat_map(|key| lens.iter().flat_map(|value| [(*key, *value, 0), (*key, *value, 1)]))
    {
        for delta in deltas {
            for (timestamp_delta, offset_delta) in [(delta.into(), 3), (3, delta), (delta.into(), delta)] {
                let headers = &several[..headers];
                let fields = RecordFields { timestamp_delta, offset_delta, key, value, headers };
                let mut expected = vec![0xaa; fields.encoded_len()];
                fields.encode(&mut expected);
                let measured = fields.measure();
                assert_eq!(measured.len(), expected.len(), "{timestamp_delta} {offset_delta}");
                let mut written = vec![0xaa; measured.len()];
                measured.encode(&mut written);
                assert!(written == expected, "{timestamp_delta} {offset_delta} {key:?} {value:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_record(r in record(), offset_delta: i32, tail in vec(any::<u8>(), 0..4)) {
        let headers = r.headers();
        let fields = RecordFields {
            timestamp_delta: r.timestamp,
            offset_delta,
            key: r.key.as_deref(),
            value: r.value.as_deref(),
            headers: &headers,
        };
        let mut out = vec![0; fields.encoded_len()];
        prop_assert_eq!(fields.encode(&mut out), out.len());
        let len = out.len();
        out.extend_from_slice(&tail);
        let (read, consumed) = decode_record(&out).unwrap();
        prop_assert_eq!(consumed, len);
        prop_assert_eq!((read.timestamp_delta, read.offset_delta), (r.timestamp, offset_delta));
        prop_assert_eq!((read.key, read.value), (r.key.as_deref(), r.value.as_deref()));
        prop_assert_eq!(read.headers.len(), headers.len());
        prop_assert_eq!(read.headers.iter().collect::<Vec<_>>(), headers);
        for cut in 0..len {
            prop_assert!(decode_record(&out[..cut]).is_err());
        }
    }

    #[test]
    fn any_batch(
        records in vec(record(), 1..20),
        codec in prop::sample::select(built_in()),
        base_offset in 0..i64::MAX - 100,
        append_time in option::of(any::<i64>()),
    ) {
        let attributes = Attributes::NONE.with_codec(codec);
        let mut builder = BatchBuilder::new(BatchSpec { attributes, ..BatchSpec::default() });
        if let Some(time) = append_time {
            builder.set_append_time(time);
        }
        for r in &records {
            builder.append(r.timestamp, r.key.as_deref(), r.value.as_deref(), &r.headers());
        }
        let bytes = builder.finish(base_offset, None).unwrap();
        let batch = BatchView::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        let h: BatchHeader = batch.header;
        prop_assert_eq!(h.next_offset(), base_offset + records.len() as i64);
        let latest = records.iter().map(|r| r.timestamp).max().unwrap();
        prop_assert_eq!(h.max_timestamp, append_time.unwrap_or(latest));
        let payload = batch.decompressed(1 << 20).unwrap();
        let read: Vec<_> = Records::new(&h, &payload).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (i, (r, w)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(h.offset_of(r.offset_delta), base_offset + i as i64);
            prop_assert_eq!(h.timestamp_of(r.timestamp_delta), append_time.unwrap_or(w.timestamp));
            prop_assert_eq!((r.key, r.value), (w.key.as_deref(), w.value.as_deref()));
            prop_assert_eq!(r.headers.iter().collect::<Vec<_>>(), w.headers());
        }
    }

    #[test]
    fn any_bytes_through_any_codec(
        unit in vec(any::<u8>(), 0..300),
        times in 1usize..800,
        codec in prop::sample::select(built_in()),
    ) {
        let data = unit.repeat(times);
        let packed = compress(codec, None, &data).unwrap();
        prop_assert_eq!(&decompress(codec, &packed, data.len()).unwrap(), &data);
        if !data.is_empty() {
            prop_assert!(decompress(codec, &packed, data.len() - 1).is_err());
        }
        if !packed.is_empty() && codec != Codec::None {
            let cut = decompress(codec, &packed[..packed.len() - 1], data.len());
            // A xerial stream has no end mark, so an empty one is whole after its first header.
            prop_assert!(cut.is_err() || data.is_empty());
        }
    }
}
