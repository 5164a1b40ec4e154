/// Where the decoded samples of a strip, tile or plane lie in a planar page.
struct Block {
  var x = 0
  var y = 0
  /// Columns and rows to copy, already cut to the page.
  var width: Int
  var height: Int
  /// Samples from one row of the block to the next.
  var rowSamples: Int
  /// Channels stored side by side in the block, and the first of them.
  var interleaved = 1
  var channel = 0
  /// Columns and rows of the block that are passed over before the first copied one.
  var skippedColumns = 0
  var skippedRows = 0

  /// What of the block lies in a region of the page, placed in that region; nil for nothing.
  func clipped(rows: Range<Int>, columns: Range<Int>) -> Block? {
    let kept = (x: (x..<x + width).clamped(to: columns), y: (y..<y + height).clamped(to: rows))
    if kept.x.isEmpty || kept.y.isEmpty { return nil }
    var block = self
    block.skippedColumns += kept.x.lowerBound - x
    block.skippedRows += kept.y.lowerBound - y
    (block.x, block.y) = (kept.x.lowerBound - columns.lowerBound, kept.y.lowerBound - rows.lowerBound)
    (block.width, block.height) = (kept.x.count, kept.y.count)
    return block
  }
}

/// The planar Floats of one page, or of a region of it.
struct PageTarget {
  let base: UnsafeMutablePointer<Float>
  let width: Int
  let height: Int
}

/// Copies a block of samples, one conversion loop per row and channel.
@inline(__always)
func scatter<T>(_ raw: UnsafeRawPointer, _ block: Block, _ page: PageTarget, _ value: (T) -> Float) {
  let source = raw.assumingMemoryBound(to: T.self)
  for channel in 0..<block.interleaved {
    let plane = page.base + (block.channel + channel) * page.height * page.width
    for row in 0..<block.height {
      let line =
        source + ((block.skippedRows + row) * block.rowSamples + block.skippedColumns * block.interleaved + channel)
      let target = plane + ((block.y + row) * page.width + block.x)
      if block.interleaved == 1 {
        for x in 0..<block.width { target[x] = value(line[x]) }
      } else {
        for x in 0..<block.width { target[x] = value(line[x &* block.interleaved]) }
      }
    }
  }
}

@inline(__always)
private func scatterIntegers<T: FixedWidthInteger>(
  _ type: T.Type, _ raw: UnsafeRawPointer, _ block: Block, _ page: PageTarget, swapped: Bool,
  inverted: Bool, _ float: (T) -> Float
) {
  // The complement is max - value without sign and -1 - value with it: darkest and brightest swap.
  let mask: T = inverted ? ~0 : 0
  if swapped {
    scatter(raw, block, page) { (stored: T) in float(stored.byteSwapped ^ mask) }
  } else {
    scatter(raw, block, page) { (stored: T) in float(stored ^ mask) }
  }
}

/// Copies a block of any format; `inverted` is for integer formats only.
func scatter(
  _ format: SampleFormat, _ raw: UnsafeRawPointer, _ block: Block, _ page: PageTarget,
  swapped: Bool = false, inverted: Bool = false
) {
  switch format {
  case .uint8:
    scatterIntegers(UInt8.self, raw, block, page, swapped: false, inverted: inverted) { Float($0) }
  case .int8:
    scatterIntegers(Int8.self, raw, block, page, swapped: false, inverted: inverted) { Float($0) }
  case .uint16:
    scatterIntegers(UInt16.self, raw, block, page, swapped: swapped, inverted: inverted) { Float($0) }
  case .int16:
    scatterIntegers(Int16.self, raw, block, page, swapped: swapped, inverted: inverted) { Float($0) }
  case .uint32:
    scatterIntegers(UInt32.self, raw, block, page, swapped: swapped, inverted: inverted) { Float($0) }
  case .int32:
    scatterIntegers(Int32.self, raw, block, page, swapped: swapped, inverted: inverted) { Float($0) }
  case .float32:
    scatterIntegers(UInt32.self, raw, block, page, swapped: swapped, inverted: false) {
      Float(bitPattern: $0)
    }
  case .float64:
    scatterIntegers(UInt64.self, raw, block, page, swapped: swapped, inverted: false) {
      Float(Double(bitPattern: $0))
    }
  }
}

/// Copies 1-bit samples, the highest bit of a byte first, as 0 and 255; `rowSamples` counts bytes.
func scatterBits(_ raw: UnsafeRawPointer, _ block: Block, _ page: PageTarget, inverted: Bool) {
  let source = raw.assumingMemoryBound(to: UInt8.self)
  let flip: UInt8 = inverted ? 0xFF : 0
  for row in 0..<block.height {
    let line = source + (block.skippedRows + row) * block.rowSamples
    let target = page.base + (block.channel * page.height + block.y + row) * page.width + block.x
    for x in 0..<block.width {
      let bit = block.skippedColumns + x
      target[x] = ((line[bit >> 3] ^ flip) << UInt8(bit & 7)) & 0x80 == 0 ? 0 : 255
    }
  }
}

/// Looks 8-bit indices up in the red, green and blue of a palette, as 0…255.
func scatterPalette(_ palette: [[UInt16]], _ raw: UnsafeRawPointer, _ block: Block, _ page: PageTarget) {
  // Entries are 16 bit, but old files hold 8 bit ones, which shows in that none exceeds 255.
  let shift: UInt16 = palette.joined().contains { $0 > 255 } ? 8 : 0
  var block = block
  for (channel, colors) in palette.enumerated() {
    block.channel = channel
    scatter(raw, block, page) { (index: UInt8) in Float(colors[Int(index)] >> shift) }
  }
}

/// Stores rows of planar channels as interleaved samples: rounded to nearest, cut to the range of the format.
///
/// Returns false where an integer format would have to store a value that is not a number.
func gather(
  _ format: SampleFormat, from page: UnsafePointer<Float>, width: Int, height: Int,
  channels: Range<Int>, rows: Range<Int>, into raw: UnsafeMutableRawPointer
) -> Bool {
  @inline(__always)
  func store<T>(_ value: (Float) -> T) {
    let target = raw.assumingMemoryBound(to: T.self)
    for channel in channels {
      for y in rows {
        let line = page + (channel * height + y) * width
        let place =
          target + (y - rows.lowerBound) * width * channels.count + (channel - channels.lowerBound)
        if channels.count == 1 {
          for x in 0..<width { place[x] = value(line[x]) }
        } else {
          for x in 0..<width { place[x &* channels.count] = value(line[x]) }
        }
      }
    }
  }

  var strangers: UInt32 = 0
  @inline(__always)
  func integers<T: FixedWidthInteger>(_ type: T.Type) {
    let low = Double(T.min)
    let high = Double(T.max)
    // In a sum with 1.5 × 2^52 the lowest bits hold the value, rounded to nearest, in two's complement. Unlike
    // rounding and converting, which may trap, this is done for many values at once.
    let shift = 0x1.8p52
    store { (value: Float) -> T in
      strangers |= value.isNaN ? 1 : 0
      let cut = min(max(Double(value), low), high)
      return T(truncatingIfNeeded: (cut + shift).bitPattern)
    }
  }

  switch format {
  case .uint8: integers(UInt8.self)
  case .uint16: integers(UInt16.self)
  case .uint32: integers(UInt32.self)
  case .int8: integers(Int8.self)
  case .int16: integers(Int16.self)
  case .int32: integers(Int32.self)
  case .float32: store { $0 }
  case .float64: store { Double($0) }
  }
  return strangers == 0
}
