# Passed as CMAKE_PROJECT_INCLUDE when llama-cpp-python is built. Its CMakeLists.txt forces
# LLAMA_BUILD_COMMON on in the cache; a normal variable of the same name hides the cached one.
# Nothing that Python calls lives in llama.cpp's "common" library: 78 objects remain of 193.
set(LLAMA_BUILD_COMMON OFF)
