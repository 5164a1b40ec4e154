import NormaFormats
import Testing

@testable import NormaData

@Suite struct WarpTests {
  /// Grey value 10·y + x, class 1 in the right half.
  private func rampDataset(height: Int = 6, width: Int = 8) throws -> SegmentationDataset {
    try SegmentationDataset(
      images: stack(height: height, width: width, format: .float32) { _, _, y, x in
        (10 * Float(y) + Float(x)) / 128
      },
      labels: stack(height: height, width: width) { _, _, _, x in x >= width / 2 ? 255 : 0 }, name: "ramp")
  }

  @Test func identityIsACopy() throws {
    let data = try tellingDataset(height: 8, width: 8)
    let sample = render(data, page: 2, side: 8, SampleTransform(), weighting: BorderWeighting())
    #expect(sample.image == data.image(page: 2))
    #expect(sample.labels == data.labels(page: 2))
    #expect(sample.weights == data.borderWeights(page: 2))
  }

  @Test func mirrorReflectsAtTheOutermostPixels() {
    func mirrored(_ values: [Float], extent: Int) -> [Float] {
      var values = values
      values.withUnsafeMutableBufferPointer {
        NormaData.mirror($0.baseAddress!, count: $0.count, extent: extent)
      }
      return values
    }
    #expect(
      mirrored([-1, -2.5, 0, 3, 4, 4.5, 5, 8, 9, 12, -8, -9], extent: 5)
        == [1, 2.5, 0, 3, 4, 3.5, 3, 0, 1, 4, 0, 1])
    #expect(mirrored([-3, 0, 7], extent: 1) == [0, 0, 0])
    // However far outside, the result lies inside.
    #expect(mirrored([1e9, -.greatestFiniteMagnitude], extent: 7).allSatisfy { $0 >= 0 && $0 <= 6 })
  }

  @Test func shiftReadsElsewhereAndMirrorsAtTheBorder() throws {
    let data = try rampDataset()
    var transform = SampleTransform()
    transform.shift = SIMD2(-2, 3)
    let sample = render(data, side: 6, transform)
    func column(_ x: Int) -> Int { abs(x - 2) }
    func row(_ y: Int) -> Int { y + 3 > 5 ? 10 - (y + 3) : y + 3 }
    for y in 0..<6 {
      for x in 0..<6 {
        #expect(sample.image[6 * y + x] == (10 * Float(row(y)) + Float(column(x))) / 128)
        #expect(sample.labels[6 * y + x] == (column(x) >= 4 ? 1 : 0))
      }
    }
  }

  @Test func cropsReadBeyondTheirEdgeFromTheSlice() throws {
    let data = try rampDataset()
    var transform = SampleTransform()
    transform.shift = SIMD2(-1, 0)
    let sample = render(data, origin: (3, 2), side: 2, transform)
    #expect(sample.image == [22, 23, 32, 33].map { $0 / 128 })
    #expect(sample.labels == [0, 0, 0, 0])
  }

  @Test func imagesAreBilinearAndLabelsNearest() throws {
    let data = try rampDataset()
    var transform = SampleTransform()
    transform.shift = SIMD2(0.75, 0.25)
    let sample = render(data, origin: (2, 1), side: 2, transform)
    #expect(sample.image == [15.25, 16.25, 25.25, 26.25].map { $0 / 128 })
    // Columns 2.75 and 3.75 are nearest to 3 and 4.
    #expect(sample.labels == [0, 1, 0, 1])
  }

  @Test func linearMapTurnsAboutTheCropCentre() throws {
    let data = try rampDataset()
    var transform = SampleTransform()
    transform.linear = SampleTransform.Linear(xx: 0, xy: -1, yx: 1, yy: 0)
    let sample = render(data, origin: (2, 1), side: 3, transform)
    // Rows of the source 12 13 14 / 22 23 24 / 32 33 34, read down from the upper right corner.
    #expect(sample.image == [14, 24, 34, 13, 23, 33, 12, 22, 32].map { $0 / 128 })
  }

  @Test func everyChannelUndergoesTheSameWarp() throws {
    let images = stack(channels: 2, height: 5, width: 5, format: .float32) { _, c, y, x in
      Float(c) * 0.5 + Float(5 * y + x) / 64
    }
    let data = try SegmentationDataset(
      images: images, labels: stack(height: 5, width: 5) { _, _, _, x in x > 2 ? 1 : 0 }, name: "two")
    var transform = SampleTransform()
    transform.shift = SIMD2(1, 0)
    let sample = render(data, origin: (1, 1), side: 3, transform)
    #expect(sample.image[0..<3] == [Float(7) / 64, Float(8) / 64, Float(9) / 64])
    #expect(Array(sample.image[9..<18]) == sample.image[0..<9].map { $0 + 0.5 })
  }

  @Test func elasticWeightsPassThroughTheNodes() {
    let weights = ElasticGrid.weights(count: 9)
    func at(_ pixel: Int) -> [Float] { (0..<3).map { weights[$0 * 9 + pixel] } }
    #expect(at(0) == [1, 0, 0])
    #expect(at(4) == [0, 1, 0])
    #expect(at(8) == [0, 0, 1])
    // Catmull-Rom half way, the outer node repeated: (−1 + 9)/16, 9/16, −1/16.
    #expect(at(2) == [0.5, 0.5625, -0.0625])
    for pixel in 0..<9 { #expect(abs(at(pixel).reduce(0, +) - 1) < 1e-6) }
    #expect(ElasticGrid.weights(count: 1) == [1, 0, 0])
  }

  @Test func elasticGridDisplaces() throws {
    let data = try rampDataset(height: 9, width: 9)
    var transform = SampleTransform()
    var x = [Float](repeating: 0, count: 9)
    var y = x
    (x[5], y[5]) = (-2, 0)  // middle row, right column
    (x[6], y[6]) = (0, -3)  // lower left corner
    transform.elastic = ElasticGrid(x: x, y: y)
    let sample = render(data, side: 9, transform)
    #expect(sample.image[4 * 9 + 8] == Float(46) / 128)
    #expect(sample.image[8 * 9] == Float(50) / 128)
    #expect(sample.image[0] == 0)
    #expect(sample.image[4 * 9 + 4] == Float(44) / 128)
  }

  @Test func ignoredPixelsWeighNothing() throws {
    let labels = stack(height: 6, width: 6) { _, _, y, x in x == 0 ? 9 : (x + y) % 2 == 0 ? 1 : 0 }
    let data = try SegmentationDataset(images: labels, labels: labels, ignore: 9, name: "ignored")
    var transform = SampleTransform()
    transform.shift = SIMD2(-0.25, 0)
    let sample = render(data, side: 6, transform, weighting: BorderWeighting())
    for (weight, label) in zip(sample.weights, sample.labels) {
      #expect((weight == 0) == (label == SegmentationDataset.ignoredClass))
    }
    #expect(sample.labels.contains(SegmentationDataset.ignoredClass))
  }
}
