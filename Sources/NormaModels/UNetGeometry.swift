extension UNet.Options {
  /// Every extent of an input is a multiple of this. Without padding, extents that the network takes are this far apart; the first is
  /// `inputExtent(forOutput: 1)`.
  public var extentMultiple: Int { 1 << depth }

  /// How many pixels the output is short of the input at every side: 0 with padding.
  public var margin: Int {
    // Two convolutions take 2 pixels, as large as 2^level of the input's: down and up again at every level, once at the bottom.
    padding == .same ? 0 : (6 << depth) - 4 + headMargin
  }

  private var headMargin: Int { head == .seed ? 1 : 0 }

  /// What two convolutions take off an extent.
  private var loss: Int { padding == .same ? 0 : 4 }

  /// The extent of the output along an axis, for one of the input; nil where the network does not take that.
  public func outputExtent(of input: Int) -> Int? {
    var extent = input
    for _ in 0..<depth {
      extent -= loss
      guard extent > 0, extent % 2 == 0 else { return nil }
      extent /= 2
    }
    for _ in 0..<depth {
      extent -= loss
      guard extent > 0 else { return nil }
      extent *= 2
    }
    extent -= loss + (padding == .same ? 0 : 2 * headMargin)
    return extent > 0 ? extent : nil
  }

  /// The smallest extent of an input whose output is at least as long as wanted.
  public func inputExtent(forOutput wanted: Int) -> Int {
    let least = max(1, wanted) + 2 * margin + loss
    return (least + extentMultiple - 1) / extentMultiple * extentMultiple - loss
  }

  /// Where an input of ``inputExtent(forOutput:)`` lies around the wanted output, from whose first pixel it is counted: what lies
  /// outside of 0..<wanted has to be there too, such as mirrored at an image's border. The output begins ``margin`` pixels after it,
  /// and what is more than wanted lies at both ends, at most a pixel more at the last.
  public func inputRange(forOutput wanted: Int) -> Range<Int> {
    let extent = inputExtent(forOutput: wanted)
    let first = -margin - (extent - 2 * margin - wanted) / 2
    return first..<first + extent
  }

  /// Which extents an input may have, as words after "extents".
  public var extentsInWords: String {
    if padding == .same { return "divisible by \(extentMultiple)" }
    let first = inputExtent(forOutput: 1)
    return "of \(first), \(first + extentMultiple), \(first + 2 * extentMultiple), …"
  }

  /// How far from an output pixel the input lies that it depends on, in pixels along an axis; statistics that norms take
  /// of the input are no part of it. Without padding the output pixel lies ``margin`` pixels further in the input.
  public var receptiveRadius: Int {
    // Pixels are counted from the first of each map. Two convolutions read two more at both sides; without padding, all four after.
    let before = padding == .same ? 2 : 0
    func twice(_ range: ClosedRange<Int>) -> ClosedRange<Int> {
      range.lowerBound - before...range.upperBound + 4 - before
    }
    /// What the given pixels of a level on the way down read of the input: two 3×3 convolutions, and the pooling before them.
    func encoder(_ level: Int, _ range: ClosedRange<Int>) -> ClosedRange<Int> {
      let input = twice(range)
      return level == 0 ? input : encoder(level - 1, 2 * input.lowerBound...2 * input.upperBound + 1)
    }
    /// On the way up: the level's own convolutions over what the skip and the enlarged level below read.
    func decoder(_ level: Int, _ range: ClosedRange<Int>) -> ClosedRange<Int> {
      if level == depth { return encoder(level, range) }
      let joined = twice(range)
      // What is left of a skip's middle.
      let cropped = padding == .same ? 0 : (6 << (depth - level)) - 8
      let skip = encoder(level, joined.lowerBound + cropped...joined.upperBound + cropped)
      // A 2×2 convolution reads the next pixel too.
      let next = upsampling == .nearest ? 1 : 0
      let up = decoder(level + 1, joined.lowerBound >> 1...(joined.upperBound + next) >> 1)
      return min(skip.lowerBound, up.lowerBound)...max(skip.upperBound, up.upperBound)
    }
    // The poolings' windows lie on a lattice, so it matters where in a window a pixel is.
    return (0..<extentMultiple).map { pixel in
      let place = pixel + margin
      let first = padding == .same ? pixel - headMargin : pixel
      let read = decoder(0, first...first + 2 * headMargin)
      return max(place - read.lowerBound, read.upperBound - place)
    }.max()!
  }
}
