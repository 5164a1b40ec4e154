import NormaFormats

@testable import NormaData

/// A stack whose pixels are given by a rule.
func stack(
  pages: Int = 1, channels: Int = 1, height: Int, width: Int, format: SampleFormat = .uint8,
  _ value: (_ page: Int, _ channel: Int, _ y: Int, _ x: Int) -> Float
) -> ImageStack {
  var values: [Float] = []
  for page in 0..<pages {
    for channel in 0..<channels {
      for y in 0..<height {
        for x in 0..<width { values.append(value(page, channel, y, x)) }
      }
    }
  }
  return try! ImageStack(
    pages: pages, channels: channels, height: height, width: width, format: format, values: values)
}

/// Every pixel's grey value tells its class: 40·class + 10·page + 1, with random classes.
func tellingDataset(
  pages: Int = 3, height: Int = 8, width: Int = 8, classes: Int = 2, seed: UInt64 = 1
) throws -> SegmentationDataset {
  var random = RandomSource(seed: seed)
  var labels = stack(pages: pages, height: height, width: width) { _, _, _, _ in
    Float(random.integer(below: classes))
  }
  // Makes sure that every class occurs.
  labels = try ImageStack(
    pages: pages, channels: 1, height: height, width: width, format: .uint8,
    values: (0..<classes).map(Float.init) + labels.values.dropFirst(classes))
  let images = stack(pages: pages, height: height, width: width) { page, _, y, x in
    40 * labels.values[(page * height + y) * width + x] + Float(10 * page + 1)
  }
  return try SegmentationDataset(images: images, labels: labels, name: "telling")
}

/// One rendered sample.
struct Rendered: Equatable {
  var image: [Float]
  var labels: [UInt8]
  var weights: [Float]
}

/// Renders a single sample into arrays.
func render(
  _ dataset: SegmentationDataset, page: Int = 0, origin: (x: Int, y: Int) = (0, 0), side: Int,
  _ transform: SampleTransform, weighting: BorderWeighting? = nil
) -> Rendered {
  let renderer = SampleRenderer(dataset: dataset, side: side, weighting: weighting)
  var image = [Float](repeating: -1, count: dataset.channels * side * side)
  var labels = [UInt8](repeating: 99, count: side * side)
  var weights = [Float](repeating: -1, count: side * side)
  image.withUnsafeMutableBufferPointer { image in
    labels.withUnsafeMutableBufferPointer { labels in
      weights.withUnsafeMutableBufferPointer { weights in
        renderer.render(
          page: page, origin: origin, transform: transform,
          to: SampleTarget(
            image: image.baseAddress!, labels: labels.baseAddress!,
            weights: weighting == nil ? nil : weights.baseAddress!))
      }
    }
  }
  return Rendered(image: image, labels: labels, weights: weights)
}

/// Every batch of a loader.
func allBatches<Batch>(_ loader: BatchLoader<Batch>) throws -> [Batch] {
  var batches: [Batch] = []
  while let batch = try loader.next() { batches.append(batch) }
  return batches
}

/// The kind of `DataError` that the work ends with; `nil` for none.
func errorKind(_ work: () throws -> Void) -> DataError.Kind? {
  do {
    try work()
    return nil
  } catch {
    return (error as? DataError)?.kind
  }
}
