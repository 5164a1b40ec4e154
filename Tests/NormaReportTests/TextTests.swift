import NormaReport
import Testing

@Suite struct TextTests {
  @Test func fixedDigits() {
    #expect(fixed(1.25, 1) == "1.3")
    #expect(fixed(0.005, 2) == "0.01")
    #expect(fixed(-0.004, 2) == "0.00", "no minus in front of zero")
    #expect(fixed(-2.5, 0) == "-3")
    #expect(fixed(0.04, 3) == "0.040")
    #expect(fixed(12, 4) == "12.0000")
    #expect(fixed(0, 2) == "0.00")
    #expect(fixed(99.999, 2) == "100.00")
    #expect(fixed(nil, 2) == "–")
    #expect(fixed(.nan, 2) == "nan")
    #expect(fixed(.infinity, 2) == "inf")
    #expect(fixed(-.infinity, 2) == "-inf")
    #expect(fixed(1e300, 2) == "1e+300")
    #expect(fixed(-0.000_04, 4) == "0.0000")
    #expect(fixed(-0.000_06, 4) == "-0.0001")
  }

  @Test func groupsOfThree() {
    #expect(grouped(0) == "0")
    #expect(grouped(999) == "999")
    #expect(grouped(1000) == "1,000")
    #expect(grouped(31_059_077) == "31,059,077")
    #expect(grouped(-123_456) == "-123,456")
    #expect(grouped(-12) == "-12")
    #expect(grouped(.min) == "-9,223,372,036,854,775,808")
  }

  @Test func clockTimes() {
    #expect(clock(0) == "0:00")
    #expect(clock(5.4) == "0:05")
    #expect(clock(59.6) == "1:00")
    #expect(clock(65) == "1:05")
    #expect(clock(3599) == "59:59")
    #expect(clock(3599.7) == "1:00:00")
    #expect(clock(36_061) == "10:01:01")
    #expect(clock(.nan) == "–")
    #expect(clock(.infinity) == "–")
  }

  @Test func memory() {
    #expect(bytes(nil) == "–")
    #expect(bytes(412 << 20) == "412 MiB")
    #expect(bytes(1 << 20) == "1 MiB")
    #expect(bytes(1 << 30) == "1.0 GiB")
    #expect(bytes((1 << 30) * 13 / 10) == "1.3 GiB")
    #expect(bytes(0) == "0 MiB")
    #expect(bytes((1 << 30) - 1) == "1.0 GiB", "what rounds up to the next unit is written in it")
  }

  @Test func columns() {
    let text = textTable(header: ["norm", "n"], rows: [["a", "1,000"], ["switchable", "–"]])
    #expect(
      text == """
        norm            n
        ─────────────────
        a           1,000
        switchable      –
        """)
    #expect(textTable(header: ["é", "b"], rows: []) == "é  b\n────")
  }

  @Test func controlCharactersAreShown() {
    #expect(printable("a\u{1B}[2J\nb é–\u{9B}") == #"a\u{1b}[2J\u{a}b é–\u{9b}"#)
  }
}
