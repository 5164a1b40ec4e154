import NormaFormats
import Testing

@testable import NormaData

@Suite struct SyntheticEMTests {
  private static let pair = SyntheticEM(width: 72, height: 56, slices: 3, seed: 4).make()

  @Test func shapesAndFormat() {
    let (images, labels) = Self.pair
    for stack in [images, labels] {
      #expect(stack.pages == 3 && stack.channels == 1 && stack.height == 56 && stack.width == 72)
      #expect(stack.format == .uint8 && stack.values.count == 3 * 56 * 72)
      #expect(stack.values.allSatisfy { $0 >= 0 && $0 <= 255 && $0 == $0.rounded() })
    }
    #expect(Set(labels.values) == [0, 255])
  }

  @Test func cellsCoverTheirShare() {
    let values = Self.pair.labels.values
    let share = Double(values.count { $0 == 255 }) / Double(values.count)
    #expect(share > 0.75 && share < 0.8)
  }

  @Test func membranesAreDarkerThanCells() {
    let (images, labels) = Self.pair
    for page in 0..<3 {
      var (sums, counts) = ([Float(0), 0], [Float(0), 0])
      for pixel in page * 56 * 72..<(page + 1) * 56 * 72 {
        let label = labels.values[pixel] == 0 ? 0 : 1
        sums[label] += images.values[pixel]
        counts[label] += 1
      }
      #expect(sums[0] / counts[0] + 20 < sums[1] / counts[1])
    }
  }

  @Test func neighbouringSlicesResembleEachOther() {
    let stack = SyntheticEM(width: 64, height: 64, slices: 12, seed: 2).make().labels.values
    func agreement(_ a: Int, _ b: Int) -> Double {
      let equal = (0..<4096).count { stack[a * 4096 + $0] == stack[b * 4096 + $0] }
      return Double(equal) / 4096
    }
    let near = agreement(4, 5) + agreement(5, 6) + agreement(6, 7)
    let far = agreement(0, 9) + agreement(1, 10) + agreement(2, 11)
    #expect(near > far + 0.15)
    #expect(agreement(5, 6) < 1)
  }

  @Test func seedDecidesEverything() {
    let again = SyntheticEM(width: 72, height: 56, slices: 3, seed: 4).make()
    #expect(again.images.values == Self.pair.images.values)
    #expect(again.labels.values == Self.pair.labels.values)
    let other = SyntheticEM(width: 72, height: 56, slices: 3, seed: 5).make()
    #expect(other.images.values != Self.pair.images.values)
    #expect(other.labels.values != Self.pair.labels.values)
  }

  /// The same bytes on every machine and at every optimization level.
  @Test func bytesAreTheRecordedOnes() {
    func digest(_ values: [Float]) -> UInt64 {
      values.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
    #expect(digest(Self.pair.images.values) == 5_191_770_166_351_061_040)
    #expect(digest(Self.pair.labels.values) == 4_237_403_297_940_105_340)
  }

  @Test func isADataset() throws {
    let data = try SegmentationDataset(images: Self.pair.images, labels: Self.pair.labels, name: "synthetic")
    #expect(data.classes == 2 && data.pages == 3)
    #expect(abs(data.classFrequencies[1] - SyntheticEM.cellShare) < 0.02)
  }

  @Test func latticeNoiseHasItsDeviation() {
    var random = RandomSource(seed: 8)
    for slices in [1, 8] {
      let noise = LatticeNoise(width: 80, height: 80, spacing: 3, slices: slices, using: &random)
      let values = noise.slice(slices / 2)
      let mean = values.reduce(0, +) / 6400
      let deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 6400).squareRoot()
      #expect(abs(mean) < 0.2)
      #expect(deviation > 0.75 && deviation < 1.25)
    }
  }
}
